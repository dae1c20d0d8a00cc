with

    source as (select * from {{ source("marketplace", "order_reviews") }}),

    renamed as (

        select
            review_id,
            order_id,
            cast(review_score as integer) as review_score,
            review_comment_title as comment_title,
            review_comment_message as comment_text,
            cast(review_creation_date as date) as asked_date,
            {{ utc_instant("review_answer_timestamp", "'America/Sao_Paulo'") }} as answered_at,
            _loaded_at
        from source

    )

select *
from renamed
