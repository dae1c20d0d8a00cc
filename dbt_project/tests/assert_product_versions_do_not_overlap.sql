with

    versions as (

        select
            product_id,
            valid_from,
            valid_to,
            lead(valid_from) over (partition by product_id order by valid_from) as next_from
        from {{ ref("dim_product") }}
        where product_id is not null

    )

select *
from versions
where valid_from >= valid_to or next_from < valid_to
