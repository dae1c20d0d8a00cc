with

    products as (select * from {{ ref("stg_marketplace__products") }}),

    categories as (select category_name, category_name_english from {{ ref("stg_marketplace__categories") }}),

    final as (

        select
            products.product_id,
            -- the files have no names: the category and the first digits of the id stand in for one
            coalesce(categories.category_name_english, products.category_name, 'article')
            || ' '
            || substr(products.product_id, 1, 8) as product_name,
            -- a category without a translation keeps its Portuguese name
            coalesce(categories.category_name_english, products.category_name) as department_name,
            products.category_name,
            cast(null as varchar) as brand_name,
            cast(products.weight_g as varchar) || ' g' as package_size,
            cast(null as decimal(12, 2)) as unit_price_amount,
            cast(null as decimal(12, 2)) as unit_cost_amount,
            true as is_active,
            cast(null as timestamptz) as created_at,
            -- the file tells no time of change: an article has one version, as the newest file has it
            products._loaded_at as updated_at,
            'i' as _op,
            products._loaded_at
        from products
        left join categories on products.category_name = categories.category_name

    )

select *
from final
