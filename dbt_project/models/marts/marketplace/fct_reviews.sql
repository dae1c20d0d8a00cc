with

    reviews as (select * from {{ ref("stg_marketplace__order_reviews") }}),

    final as (

        select
            {{ surrogate_key(["review_id", "order_id"]) }} as order_review_key,
            review_id,
            order_id,
            count(*) over (partition by review_id) > 1 as is_shared,
            row_number() over (partition by order_id order by answered_at desc, review_id) = 1 as is_latest_of_order,
            review_score,
            comment_title,
            comment_text,
            asked_date,
            answered_at
        from reviews

    )

select *
from final
